"""Types of encoders' options: what a number may be, as annotations that core.options reads."""

from collections.abc import Mapping
from typing import Annotated

from clickprint.core.events import Role
from clickprint.core.options import HORIZON, Between, OneOf
from clickprint.core.profiles import MAX_WIDTH

Width = Annotated[int, Between(1, MAX_WIDTH)]  # numbers in a profile
Count = Annotated[int, Between(1, 1_000_000_000)]
Layers = Annotated[int, Between(1, 128)]  # also heads
HorizonDays = Annotated[int, HORIZON]
Length = Annotated[int, Between(1, 100_000)]  # events of a history
Inside = Annotated[int, Between(1, 65_536)]  # a width inside a network
Top = Annotated[int, Between(1, 100_000)]  # values of a column
OwnWidth = Annotated[int, Between(0, 65_536)]  # 0: the default of its block
Share = Annotated[float, Between(0, 1, high_open=True)]
Days = Annotated[int | float, Between(0, 36_500, high_open=True)]  # 0: none
SomeDays = Annotated[int | float, Between(0, 36_500, low_open=True, high_open=True)]
Positive = Annotated[int | float, Between(0, 1_000_000_000, low_open=True)]
RoleName = Annotated[str, OneOf(*Role)]
Weights = Mapping[RoleName, Annotated[int | float, Between(0, 1_000_000)]]
