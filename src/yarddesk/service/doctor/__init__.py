"""What may be wrong on this machine: a module a check, each of which asks the rooms that know, and changes nothing."""
