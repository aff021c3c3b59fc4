"""What the views read: snapshots, turned into rows that change in place."""
