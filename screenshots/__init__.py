"""Pictures of the screen, and what draws them."""
