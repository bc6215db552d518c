"""What a claim is, how it is measured, and what a measurement may say."""
