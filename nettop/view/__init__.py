"""What the screen shows, as pure functions and declarations: no widget, no Textual."""
