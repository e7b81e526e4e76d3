"""Where monitors write: one small interface over Lightning's loggers."""
