"""All that knows how S3 speaks: who we are to it, what a bucket holds, its bytes, its errors."""
