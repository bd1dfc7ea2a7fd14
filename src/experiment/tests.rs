//! Whole Experiments in a world of plain objects.
