// A program that ends with an error as soon as it starts.
throw new Error('broken');
