"""The window's parts: they show what models say and hand what a person does to the actions."""
