"""Running a trained model: on arrays, on files, and as a demonstration."""
