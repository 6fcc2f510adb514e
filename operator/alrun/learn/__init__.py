"""Selection, embeddings, the embedded detector, metrics: numbers in, numbers out. No Kubernetes, no stores."""
