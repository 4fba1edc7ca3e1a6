"""The store on a disk: files by digest, and an index of what is known, with a journal of tags and grants."""
