"""Callbacks for a Lightning Trainer."""
