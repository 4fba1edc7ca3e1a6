"""What every verb shares to speak to a person: results, steps, progress and tables."""
