"""The commands: arguments in, words or JSON out, an exit status (0 done, 1 failed, 2 unusable options or settings)."""
