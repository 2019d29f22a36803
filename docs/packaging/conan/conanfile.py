# Conan 2: `conan create docs/packaging/conan -s compiler.cppstd=20` in a checkout. Headers only.
import os

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy


class FoldnormRecipe(ConanFile):
    name = "foldnorm"
    version = "0.1.0"
    license = "MIT"
    description = "Normalization layers on Eigen, and folding them into the weights around them"
    settings = "os", "arch", "compiler", "build_type"
    package_type = "header-library"
    no_copy_source = True
    requires = "eigen/[>=3.4 <6]"

    def export_sources(self):
        checkout = os.path.join(self.recipe_folder, "..", "..", "..")
        copy(self, "include/*", checkout, self.export_sources_folder)
        copy(self, "LICENSE", checkout, self.export_sources_folder)

    def validate(self):
        check_min_cppstd(self, 20)

    def package(self):
        copy(self, "*.hpp", os.path.join(self.source_folder, "include"), os.path.join(self.package_folder, "include"))
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_id(self):
        self.info.clear()

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.set_property("cmake_target_name", "foldnorm::foldnorm")
