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
    if words is not None:
        return _stoppable(words, last=False)
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (1, 2, 15))  # until `stoppable` answers them
    import errno

    from clickprint.work.process import open_streams

    out = open_streams()
    code = _stoppable(sys.argv[1:], last=True)
    sys.stdout.flush()
    if out.fault is not None and out.fault.errno != errno.EPIPE:  # `| head` is no fault
        return code or _refuse(f"stdout: {out.fault.strerror}", 1)
    return code


def _stoppable(words: "Sequence[str]", *, last: bool) -> int:
    from clickprint.work.process import stoppable

    code = 0
    with stoppable(last=last) as stop:
        try:
            code = _run(list(words))
        except BaseException:
            if not stop.code:
                raise
    if stop.code:  # whatever it ended with, the signal is why
        return _refuse("interrupted; the same command again goes on from here", stop.code)
    return code


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError

    from clickprint.apps.cli import (  # noqa: F401  importing them adds their commands
        challenge,
        data,
        next_purchase,
        profiles,
        ranking,
    )
    from clickprint.apps.cli.shared import app, bad_word
    from clickprint.core.errors import ClickprintError

    debug = bool(os.environ.get("CLICKPRINT_DEBUG"))
    if said := bad_word(words):
        return _refuse(said, 2)
    try:
        code = app(words, print_error=False, exit_on_error=False, result_action="return_value")
        return code if isinstance(code, int) else 0
    except CycloptsError as fault:
        command = " ".join(["clickprint", *(fault.command_chain or ())])
        return _refuse(f"{fault} Try `{command} --help`.", 2)
    except ClickprintError as fault:
        if debug:
            raise
        return _refuse(str(fault), 1)
    except OSError as fault:  # a full disk, no permission: what the system says is the message
        if debug:
            raise
        where = f": {fault.filename}" if fault.filename else ""
        return _refuse(f"{fault.strerror or fault}{where}", 1)
    except MemoryError:
        if debug:
            raise
        return _refuse("out of memory; lower --threads or --memory, or take a smaller log", 1)


def _refuse(message: str, code: int) -> int:
    from clickprint.core.text import say

    say(f"clickprint: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
