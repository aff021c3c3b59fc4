"""The settings: one frozen tree, read from options, environment, YAML and defaults."""
