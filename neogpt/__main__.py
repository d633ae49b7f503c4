"""`python -m neogpt`, for torchrun: `torchrun --nproc-per-node 2 -m neogpt pretrain tinyworld`."""

from neogpt.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
