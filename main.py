"""The command line: python main.py --config configs/pix2rep.py --mode pretrain.

The installed command `pix2rep` is the same program: pix2rep_jax/cli/program.py.
"""

import sys

try:
    from pix2rep_jax.cli.program import main
except ModuleNotFoundError as error:
    from pix2rep_jax.errors import explain_missing

    sentence = explain_missing(error)
    if sentence is None:
        raise
    sys.exit(f"error: {sentence}")
except KeyboardInterrupt:
    sys.exit(130)

if __name__ == "__main__":
    main()
