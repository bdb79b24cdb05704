//! A synthetic sky: five-band galaxies with spectra, profiles, noise and redshifts
