"""What one loaded version answers: Predict, Classify, Regress and MultiInference, batched or not."""
