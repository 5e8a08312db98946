"""Runs every *_test.py beside it, against the servers that run_client has started.

Generated code is looked for in the directory that the first argument names. Exits with 77, for a test that was
skipped, if a package is missing.
"""

import os
import sys
import unittest


def main():
    try:
        import google.protobuf  # noqa: F401
        import grpc  # noqa: F401
    except ImportError as error:
        print(f"SKIPPED: {error} (Debian has it: python3-grpcio, python3-protobuf)", file=sys.stderr)
        return 77
    generated = sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [here, generated]
    sys.dont_write_bytecode = True
    tests = unittest.defaultTestLoader.discover(here, pattern="*_test.py")
    if tests.countTestCases() == 0:
        print("FAILED: there are no tests", file=sys.stderr)
        return 1
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
