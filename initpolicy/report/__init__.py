"""Rendering, as text for people and as JSON for programs; the only room that prints."""
