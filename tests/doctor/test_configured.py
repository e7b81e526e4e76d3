from lightning_hparams.configuration import Configuration
from lightning_hparams.doctor import diagnose
from lightning_hparams.doctor.configured import configuration_findings

GIVEN = {
    "seed_everything": 1,
    "model": {"class_path": "ClassificationTask", "init_args": {"model": "test_resnet"}},
    "data": {"class_path": "DigitsData", "init_args": {"size": 8}},
}


def written(tmp_path, **changed):
    path = tmp_path / "fit.yaml"
    Configuration.load({**GIVEN, **changed}).save(path)
    return path


def test_a_configuration_is_built_and_its_data_looked_at(tmp_path):
    found = diagnose(written(tmp_path)).findings
    (told,) = [each.text for each in found if each.section == "configuration"]
    assert "ClassificationTask on DigitsData" in told
    assert any(each.text.startswith("train: 1150 samples") for each in found)


def test_a_configuration_that_does_not_fit_is_an_error(tmp_path):
    path = tmp_path / "fit.yaml"
    path.write_text("model: {class_path: ClassificationTask, init_args: {modle: resnet10t}}\n")
    (error,) = configuration_findings(path)
    assert error.level == "error"
    assert "modle" in error.text
    assert error.text.count(str(path)) == 1
    path.write_text("model: [")
    (error,) = configuration_findings(path)
    assert error.level == "error"
