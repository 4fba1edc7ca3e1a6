"""Docker, by its command line: what it is asked (`cli`), what it answers (`values`), and what goes wrong (`errors`)."""
