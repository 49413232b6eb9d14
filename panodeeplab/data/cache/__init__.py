"""A data set decoded once: one file of pixels to map into memory, and an index.

    FOLDER/{split}.json              what is where, and what it was made from
    FOLDER/{split}-{build}.pixels    of each image its RGB bytes, then its id map as positions in a palette

Both are lossless. The index is written last and names its file of pixels, so that a cache is whole or is not
there, and a new one takes the place of an old one in one step.
"""

from panodeeplab.data.cache.dataset import CachedDataset
from panodeeplab.data.cache.write import Written, verify_cache, write_cache

__all__ = ["CachedDataset", "Written", "verify_cache", "write_cache"]
