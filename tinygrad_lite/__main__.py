"""The package's command line: python -m tinygrad_lite VERB ...; each room brings its verbs."""
import argparse
import os
import sys

from .vectors import command_line


def main(argv=None):
    """Run a verb; the exit status: 0, or 1 with a sentence on standard error (2: the command itself is wrong)."""
    parser = argparse.ArgumentParser(prog="python -m tinygrad_lite", description="Look into files of vectors, and take them apart.")
    command_line.add(parser.add_subparsers(title="verbs", metavar="VERB", required=True))
    args = parser.parse_args(argv)
    for stream in sys.stdout, sys.stderr:
        stream.reconfigure(encoding="utf-8", errors="surrogateescape")          # words are bytes, whatever the locale says
    try:
        args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())          # `| head` has read enough
    except OSError as error:
        print(f"{parser.prog}: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1
    except (ValueError, KeyError) as error:
        print(f"{parser.prog}: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
