"""A small repository of each language: who imports whom, as its author knows, and which test is whose."""

from training.corpus.document import Document, language_of

FILES: dict[str, dict[str, str]] = {
    "python": {
        "shop/__init__.py": "",
        "shop/basket.py": (
            "from shop import prices\nfrom . import units as u\n\ndef total():\n    return prices.of(u.KILO)\n"
        ),
        "shop/prices.py": "import shop.units\nimport json\n\ndef of(unit):\n    return shop.units.KILO * unit\n",
        "shop/units.py": "KILO = 1000\n",
        "tests/test_prices.py": "from shop.prices import of\n\ndef test_of():\n    assert of(1) == 1000\n",
    },
    "javascript": {
        "src/basket.js": (
            "import { of } from './prices.js';\nconst units = require('./units');\n"
            "export const total = of(units.kilo);\n"
        ),
        "src/prices.js": "import * as units from './units';\nexport function of(n) { return n * units.kilo; }\n",
        "src/units.js": "export const kilo = 1000;\n",
        "src/prices.test.js": "import { of } from './prices';\ntest('of', () => expect(of(1)).toBe(1000));\n",
    },
    "typescript": {
        "src/basket.ts": (
            "import { of } from './prices';\nimport type { Unit } from './units';\n"
            "export const total = (u: Unit) => of(u);\n"
        ),
        "src/prices.ts": "import { Unit } from './units';\nexport function of(u: Unit): number { return u.size; }\n",
        "src/units.ts": "export interface Unit { size: number }\n",
        "src/prices.spec.ts": "import { of } from './prices';\nit('is', () => of({ size: 1 }));\n",
    },
    "java": {
        "src/main/java/shop/Basket.java": (
            "package shop;\n\nimport shop.parts.Unit;\n\nclass Basket { Prices prices; Unit unit; }\n"
        ),
        "src/main/java/shop/Prices.java": (
            "package shop;\n\nimport shop.parts.Unit;\n\nclass Prices { int of(Unit u) { return u.size; } }\n"
        ),
        "src/main/java/shop/parts/Unit.java": "package shop.parts;\n\npublic class Unit { public int size; }\n",
        "src/test/java/shop/PricesTest.java": "package shop;\n\nclass PricesTest { void of() { new Prices(); } }\n",
    },
    "kotlin": {
        "src/commonMain/Basket.kt": (
            "package shop\n\nimport parts.Unit\n\nclass Basket(val prices: Prices, val unit: Unit)\n"
        ),
        "src/commonMain/Prices.kt": "package shop\n\nimport parts.Unit\n\nclass Prices { fun of(u: Unit) = u.size }\n",
        "src/commonMain/parts/Unit.kt": "package parts\n\nclass Unit(val size: Int)\n",
        "src/commonTest/PricesTest.kt": "package shop\n\nclass PricesTest { fun of() { Prices() } }\n",
    },
    "go": {
        "go.mod": "module example.com/shop\n\ngo 1.19\n",
        "basket/basket.go": (
            'package basket\n\nimport "example.com/shop/prices"\n\nfunc Total() int { return prices.Of(1) }\n'
        ),
        "prices/prices.go": (
            'package prices\n\nimport "example.com/shop/units"\n\nfunc Of(n int) int { return n * units.Kilo }\n'
        ),
        "units/units.go": "package units\n\nconst Kilo = 1000\n",
        "prices/prices_test.go": 'package prices\n\nimport "testing"\n\nfunc TestOf(t *testing.T) { Of(1) }\n',
    },
    "cpp": {
        "src/basket.cpp": '#include "shop/prices.h"\n#include <vector>\n\nint total() { return of(1); }\n',
        "include/shop/prices.h": '#pragma once\n#include "units.h"\n\nint of(int n);\n',
        "include/shop/units.h": "#pragma once\n\nconst int kilo = 1000;\n",
        "src/prices.cpp": '#include "shop/prices.h"\n\nint of(int n) { return n * kilo; }\n',
        "test/prices_test.cpp": '#include "shop/prices.h"\n\nint main() { return of(1) - 1000; }\n',
    },
    "csharp": {
        "Shop/Basket.cs": "using Shop.Parts;\n\nnamespace Shop\n{\n    class Basket { Prices prices; Unit unit; }\n}\n",
        "Shop/Prices.cs": (
            "using Shop.Parts;\n\nnamespace Shop\n{\n    class Prices { int Of(Unit u) { return u.Size; } }\n}\n"
        ),
        "Shop/Parts/Unit.cs": "namespace Shop.Parts\n{\n    public class Unit { public int Size; }\n}\n",
        "Shop.Tests/PricesTests.cs": (
            "using Shop;\n\nnamespace Shop.Tests\n{\n    class PricesTests { Prices prices; }\n}\n"
        ),
    },
    "rust": {
        "Cargo.toml": '[package]\nname = "shop"\nversion = "1.0.0"\n',
        "src/basket.rs": "use crate::prices::of;\n\npub fn total() -> u32 { of(1) }\n",
        "src/lib.rs": "pub mod basket;\npub mod prices;\npub mod units;\n",
        "src/prices.rs": "use super::units::KILO;\n\npub fn of(n: u32) -> u32 { n * KILO }\n",
        "src/units.rs": "pub const KILO: u32 = 1000;\n",
        "tests/prices.rs": "use shop::prices::of;\n\n#[test]\nfn is() { assert_eq!(of(1), 1000); }\n",
    },
}

IMPORTS: dict[str, set[tuple[str, str]]] = {
    "python": {
        ("shop/basket.py", "shop/prices.py"),
        ("shop/basket.py", "shop/units.py"),
        ("shop/prices.py", "shop/units.py"),
        ("tests/test_prices.py", "shop/prices.py"),
    },
    "javascript": {
        ("src/basket.js", "src/prices.js"),
        ("src/basket.js", "src/units.js"),
        ("src/prices.js", "src/units.js"),
        ("src/prices.test.js", "src/prices.js"),
    },
    "typescript": {
        ("src/basket.ts", "src/prices.ts"),
        ("src/basket.ts", "src/units.ts"),
        ("src/prices.ts", "src/units.ts"),
        ("src/prices.spec.ts", "src/prices.ts"),
    },
    "java": {
        ("src/main/java/shop/Basket.java", "src/main/java/shop/Prices.java"),
        ("src/main/java/shop/Basket.java", "src/main/java/shop/parts/Unit.java"),
        ("src/main/java/shop/Prices.java", "src/main/java/shop/parts/Unit.java"),
        ("src/test/java/shop/PricesTest.java", "src/main/java/shop/Prices.java"),
    },
    "kotlin": {
        ("src/commonMain/Basket.kt", "src/commonMain/Prices.kt"),
        ("src/commonMain/Basket.kt", "src/commonMain/parts/Unit.kt"),
        ("src/commonMain/Prices.kt", "src/commonMain/parts/Unit.kt"),
        ("src/commonTest/PricesTest.kt", "src/commonMain/Prices.kt"),
    },
    "go": {
        ("basket/basket.go", "prices/prices.go"),
        ("prices/prices.go", "units/units.go"),
        ("prices/prices_test.go", "prices/prices.go"),
    },
    "cpp": {
        ("src/basket.cpp", "include/shop/prices.h"),
        ("include/shop/prices.h", "include/shop/units.h"),
        ("src/prices.cpp", "include/shop/prices.h"),
        ("test/prices_test.cpp", "include/shop/prices.h"),
    },
    "csharp": {
        ("Shop/Basket.cs", "Shop/Prices.cs"),
        ("Shop/Basket.cs", "Shop/Parts/Unit.cs"),
        ("Shop/Prices.cs", "Shop/Parts/Unit.cs"),
        ("Shop.Tests/PricesTests.cs", "Shop/Prices.cs"),
    },
    "rust": {
        ("src/basket.rs", "src/prices.rs"),
        ("src/lib.rs", "src/basket.rs"),
        ("src/lib.rs", "src/prices.rs"),
        ("src/lib.rs", "src/units.rs"),
        ("src/prices.rs", "src/units.rs"),
        ("tests/prices.rs", "src/prices.rs"),
    },
}

SUBJECTS: dict[str, tuple[str, str]] = {
    "python": ("tests/test_prices.py", "shop/prices.py"),
    "javascript": ("src/prices.test.js", "src/prices.js"),
    "typescript": ("src/prices.spec.ts", "src/prices.ts"),
    "java": ("src/test/java/shop/PricesTest.java", "src/main/java/shop/Prices.java"),
    "kotlin": ("src/commonTest/PricesTest.kt", "src/commonMain/Prices.kt"),
    "go": ("prices/prices_test.go", "prices/prices.go"),
    "cpp": ("test/prices_test.cpp", "src/prices.cpp"),
    "csharp": ("Shop.Tests/PricesTests.cs", "Shop/Prices.cs"),
    "rust": ("tests/prices.rs", "src/prices.rs"),
}
"""The test of each repository, and what it tests."""

LANGUAGES = sorted(FILES)


def document(path: str, text: str, *, revision: str = "1", repository: str = "made:shop") -> Document:
    return Document(
        repository=repository, path=path, revision=revision, licence="MIT", language=language_of(path), text=text
    )


def documents(language: str) -> list[Document]:
    return [document(path, text) for path, text in FILES[language].items()]
