"""Types of encoders' options: what a number may be, as annotations that core.options reads."""

from collections.abc import Mapping
from typing import Annotated

from clickprint.core.events import Role
from clickprint.core.options import Above, AtLeast, Between, OneOf
from clickprint.core.profiles import MAX_WIDTH

Width = Annotated[int, Between(1, MAX_WIDTH)]  # numbers in a profile
Count = Annotated[int, AtLeast(1)]
OwnWidth = Annotated[int, AtLeast(0)]  # a width inside a network; 0: the default of its block
Share = Annotated[float, Between(0, 1, high_open=True)]
Days = Annotated[int | float, Between(0, 36_500, high_open=True)]  # 0: none
SomeDays = Annotated[int | float, Between(0, 36_500, low_open=True, high_open=True)]
Positive = Annotated[int | float, Above(0)]
RoleName = Annotated[str, OneOf(*Role)]
Weights = Mapping[RoleName, Annotated[int | float, Between(0, 1_000_000)]]
