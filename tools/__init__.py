"""What the project needs beside the program: environments, installation, pages made from the program's own tables."""
