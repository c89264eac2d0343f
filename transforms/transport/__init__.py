"""What moves between the steps of a pipeline, and where it rests: batches, ids, files on any file system."""
