"""All that knows how a Sonoma Creek (SC) or Intel Geti server speaks, from SC 1.1 to Geti 2.x."""
