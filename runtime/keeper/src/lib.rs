//! The one process per node that clones, reaps and holds stdio.
