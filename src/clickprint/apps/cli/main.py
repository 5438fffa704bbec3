"""The entry of the command line: words in, exit code out.

Commands import what is heavy when they run, so that help is quick. Exit codes:

- 0: done
- 1: refused (bad data, a bad recipe, an option's value that cannot be honoured), or a fault found
- 2: wrong usage
- 130: interrupted
"""

import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from clickprint.apps.cli import challenge, data, next_purchase, profiles, ranking
from clickprint.apps.cli.shared import app
from clickprint.core.errors import ClickprintError

GROUPS = (data, profiles, ranking, next_purchase, challenge)  # importing them adds their commands


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. CLICKPRINT_DEBUG=1 shows a refusal's traceback."""
    debug = bool(os.environ.get("CLICKPRINT_DEBUG"))
    try:
        code = app(
            sys.argv[1:] if words is None else list(words),
            print_error=False,
            exit_on_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CycloptsError as fault:
        command = " ".join(["clickprint", *(fault.command_chain or ())])
        return _refuse(f"{fault} Try `{command} --help`.", 2)
    except ClickprintError as fault:
        if debug:
            raise
        return _refuse(str(fault), 1)
    except BrokenPipeError:  # the reader of our output left early (`| head`): not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as fault:  # a full disk, no permission: what the system says is the message
        if debug:
            raise
        where = f": {fault.filename}" if fault.filename else ""
        return _refuse(f"{fault.strerror or fault}{where}", 1)
    except KeyboardInterrupt:
        return _refuse("interrupted; the same command again goes on from here", 130)


def _refuse(message: str, code: int) -> int:
    print(f"clickprint: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
