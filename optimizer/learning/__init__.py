"""From events to statistics: what a decision, an outcome or feedback changes."""
