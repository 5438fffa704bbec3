"""The entry of the command line: words in, exit code out.

Commands import what is heavy when they run, so that help is quick. Exit codes:

- 0: done
- 1: refused (bad data, a bad recipe, an option's value that cannot be honoured), or a fault found
- 2: wrong usage
- 130, 143, 129: stopped by SIGINT (Ctrl-C), SIGTERM or SIGHUP
"""

# No import that takes time: until `main` blocks them, a signal ends in Python's own traceback.
import _signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(words: "Sequence[str] | None" = None) -> int:
    """Run one command and return its exit code. CLICKPRINT_DEBUG=1 shows a refusal's traceback.

    Without `words` those of the process are taken, which ends afterwards.
    """
    if words is None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, (1, 2, 15))  # until `stoppable` answers them
    from clickprint.work.process import as_process, until_stopped

    if words is None:
        return as_process(lambda: _run(sys.argv[1:]))
    return until_stopped(lambda: _run(list(words)), last=False)


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError

    # Importing them adds their commands.
    from clickprint.apps.cli import challenge, data, next_purchase, profiles, ranking  # noqa: F401
    from clickprint.apps.cli.shared import app
    from clickprint.core.errors import ClickprintError, message
    from clickprint.work.process import bad_word, refuse

    if said := bad_word(words):
        return refuse(said, 2)
    try:
        code = app(words, print_error=False, exit_on_error=False, result_action="return_value")
        return code if isinstance(code, int) else 0
    except CycloptsError as fault:
        command = " ".join(["clickprint", *(fault.command_chain or ())])
        return refuse(f"{fault} Try `{command} --help`.", 2)
    except (ClickprintError, OSError, MemoryError) as fault:
        if os.environ.get("CLICKPRINT_DEBUG"):
            raise
        return refuse(message(fault), 1)


if __name__ == "__main__":
    sys.exit(main())
