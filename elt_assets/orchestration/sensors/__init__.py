"""Sensors: runs that start because something changed."""
