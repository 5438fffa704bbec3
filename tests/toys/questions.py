"""A toy task, in a module of the user's own."""

from clickprint.core.events import Role
from clickprint.metrics.task_metrics import AUROC
from clickprint.tasks.populations import everyone
from clickprint.tasks.targets import count_at_least
from clickprint.tasks.task import Task

BUYS_THREE = Task(
    name="buys_three",
    population=everyone(),
    target=count_at_least(3, Role.BUY),
    metrics={"auroc": (1.0, AUROC())},
    about="Who buys at least three things in the window?",
)
