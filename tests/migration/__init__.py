"""What an older version of the product wrote opens with today's code; see README.md."""
