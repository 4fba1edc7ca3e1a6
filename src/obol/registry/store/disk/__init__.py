"""The store on a disk: files by digest, and an index of names with a journal."""
