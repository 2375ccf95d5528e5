"""What the LAMMPS tests share."""
