"""The rows that are measured with, as streams: nothing here holds a large table whole."""
