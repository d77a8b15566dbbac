"""FiftyOne's samples to CVAT and their labels back: joins the rooms of FiftyOne and of CVAT."""
