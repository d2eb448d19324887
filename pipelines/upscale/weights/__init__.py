"""The embedded weights; README.md says where they come from."""
