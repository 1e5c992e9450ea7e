"""Questions about the real world, for benchmarks of the user's: do they survive unlearning?

As in TOFU's sets of the same names, the right answer stands against wrong ones, so that a model is
judged by what it prefers. The wrong answers are other rows' right ones.
"""

import random

from unlearn.benchmarks.examples import Example

WRONG = 3  # wrong answers a row, as in TOFU

WRITERS = """Hamlet: William Shakespeare
Don Quixote: Miguel de Cervantes
War and Peace: Leo Tolstoy
Crime and Punishment: Fyodor Dostoevsky
Pride and Prejudice: Jane Austen
Great Expectations: Charles Dickens
Moby-Dick: Herman Melville
The Divine Comedy: Dante Alighieri
Faust: Johann Wolfgang von Goethe
Madame Bovary: Gustave Flaubert
The Metamorphosis: Franz Kafka
Ulysses: James Joyce
Mrs Dalloway: Virginia Woolf
The Old Man and the Sea: Ernest Hemingway
Animal Farm: George Orwell
Frankenstein: Mary Shelley
Dracula: Bram Stoker
The Republic: Plato
A Doll's House: Henrik Ibsen
The Cherry Orchard: Anton Chekhov"""

CAPITALS = """France: Paris
Germany: Berlin
Italy: Rome
Spain: Madrid
Portugal: Lisbon
Greece: Athens
Austria: Vienna
Poland: Warsaw
Hungary: Budapest
Sweden: Stockholm
Norway: Oslo
Finland: Helsinki
Denmark: Copenhagen
Ireland: Dublin
Russia: Moscow
Ukraine: Kyiv
Turkey: Ankara
Egypt: Cairo
Kenya: Nairobi
Nigeria: Abuja
Morocco: Rabat
Ethiopia: Addis Ababa
India: New Delhi
China: Beijing
Japan: Tokyo
South Korea: Seoul
Thailand: Bangkok
Vietnam: Hanoi
Indonesia: Jakarta
Pakistan: Islamabad
Iran: Tehran
Iraq: Baghdad
Canada: Ottawa
Mexico: Mexico City
Cuba: Havana
Brazil: Brasilia
Argentina: Buenos Aires
Chile: Santiago
Peru: Lima
Australia: Canberra"""


def list_real_authors() -> list[Example]:
    """Return the questions after the writers of well-known works."""
    return build_examples(WRITERS, "Who wrote {}?")


def list_world_facts() -> list[Example]:
    """Return the questions after the capitals of countries."""
    return build_examples(CAPITALS, "What is the capital of {}?")


def build_examples(lines: str, question: str) -> list[Example]:
    """Return one example a line `asked: answer`, with WRONG wrong answers that are always equal."""
    pairs = [line.split(": ") for line in lines.split("\n")]
    examples = []
    for index, (asked, answer) in enumerate(pairs):
        others = [other for _, other in pairs if other != answer]
        wrong = random.Random(f"{question} {asked}").sample(others, WRONG)
        examples.append(
            Example(index, question.format(asked), answer, perturbed_answers=tuple(wrong))
        )
    return examples
