"""Data sets: made from image folders, fetched, drawn, described. Independent of the rest of the pipeline."""
