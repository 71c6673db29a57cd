"""The device side of Radiata: queue workers, the engine that holds the model, and training."""
