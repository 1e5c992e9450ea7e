"""The adapter: its numbers, its folder, its gates and its edit policy."""
