"""All that knows how CVAT speaks: addresses, signing in, listings, exports, downloads, health."""
