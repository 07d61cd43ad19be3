"""Charts for the terminal, the report and the documentation."""
