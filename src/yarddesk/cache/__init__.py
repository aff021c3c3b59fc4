"""Content through the upstreams: asked for when it's not here or may be out of date, verified, kept, and served while it comes."""
