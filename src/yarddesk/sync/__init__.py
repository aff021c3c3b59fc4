"""Pushed images on their way to their upstreams: journal, worker, history, and what others see of it."""
