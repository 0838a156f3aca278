// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDtnAiEvents} from "@deeptrust/contracts/idtn-ai-events.sol";
import {IDtnAi} from "@deeptrust/contracts/idtn-ai.sol";

import {IDtn} from "../../src/interfaces/IDtn.sol";
import {IDtnNodes} from "../../src/interfaces/IDtnNodes.sol";
import {Fixture} from "../kit/Fixture.sol";
import {TetherMock, TokenMock} from "../kit/Tokens.sol";

contract RegistryTest is Fixture {
    bytes32 private constant MINE = keccak256("mine");

    function setUp() public override {
        super.setUp();
        vm.prank(owner.addr);
        ai.registerNamespace("mine");
    }

    // ─────────────────────────────────────── registerNamespace ───────────────────────────────────────

    function test_RevertWhen_TheNamespacesNameIsTaken() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NameTaken.selector, "system"));
        vm.prank(thief.addr);
        ai.registerNamespace("system");
    }

    function test_RevertWhen_TheNamespacesNameIsNotAllowed() external {
        string[6] memory names = ["", "System", "my.name", "a b", unicode"café", "a-name-of-thirty-three-characters"];
        for (uint256 i = 0; i < names.length; i++) {
            vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NameInvalid.selector, names[i]));
            ai.registerNamespace(names[i]);
        }
    }

    function test_WhenANamespaceIsRegistered() external {
        vm.expectEmit(address(ai));
        emit IDtnNodes.NamespaceRegistered(keccak256("az-09"), thief.addr, "az-09");
        vm.prank(thief.addr);
        bytes32 namespaceId = ai.registerNamespace("az-09");
        (address owner_, uint256 nodes) = ai.namespaceOf(namespaceId);
        vm.assertEq(owner_, thief.addr);
        vm.assertEq(nodes, 0);
    }

    // ─────────────────────────────────────── transferNamespace ───────────────────────────────────────

    function test_RevertWhen_AStrangerTransfersANamespace() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotNamespaceOwner.selector, MINE, thief.addr));
        vm.prank(thief.addr);
        ai.transferNamespace(MINE, thief.addr);
    }

    function test_RevertWhen_ANamespaceIsTransferredToNobody() external {
        vm.expectRevert(IDtnNodes.DtnAi_AddressZero.selector);
        vm.prank(owner.addr);
        ai.transferNamespace(MINE, address(0));
    }

    function test_WhenTheSystemNamespaceIsTransferred() external {
        vm.assertEq(ai.administrator(), admin.addr);
        vm.prank(admin.addr);
        ai.transferNamespace(SYSTEM, thief.addr);
        vm.assertEq(ai.administrator(), thief.addr);
    }

    // ────────────────────────────────────────── registerNode ─────────────────────────────────────────

    function test_RevertWhen_TheNamespaceIsOfSomebodyElse() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotNamespaceOwner.selector, SYSTEM, thief.addr));
        vm.prank(thief.addr);
        ai.registerNode("system", "evil", thief.addr);
    }

    function test_RevertWhen_TheNodesNameIsNotAllowed() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NameInvalid.selector, "a.b"));
        vm.prank(owner.addr);
        ai.registerNode("mine", "a.b", owner.addr);
    }

    function test_RevertWhen_TheNodesNameIsTaken() external {
        vm.startPrank(owner.addr);
        ai.registerNode("mine", "one", owner.addr);
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NameTaken.selector, "one"));
        ai.registerNode("mine", "one", thief.addr);
        vm.stopPrank();
    }

    function test_RevertWhen_TheOperatorIsNobody() external {
        vm.expectRevert(IDtnNodes.DtnAi_AddressZero.selector);
        vm.prank(owner.addr);
        ai.registerNode("mine", "one", address(0));
    }

    function test_WhenANodeIsRegistered() external {
        vm.prank(owner.addr);
        bytes32 nodeId = ai.registerNode("mine", "one", thief.addr);
        vm.assertEq(nodeId, keccak256("mine.one"));
        (address operator, bytes32 namespaceId) = ai.nodeOf(nodeId);
        vm.assertEq(operator, thief.addr);
        vm.assertEq(namespaceId, MINE);
        (, uint256 nodes) = ai.namespaceOf(MINE);
        vm.assertEq(nodes, 1);
    }

    // ─────────────────────────────────────────── retireNode ──────────────────────────────────────────

    function test_RevertWhen_AStrangerRetiresANode() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotNamespaceOwner.selector, SYSTEM, thief.addr));
        vm.prank(thief.addr);
        ai.retireNode(nodeIds[0]);
    }

    function test_RevertWhen_ANodeThatIsNotThereIsRetired() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotNamespaceOwner.selector, bytes32(0), admin.addr));
        vm.prank(admin.addr);
        ai.retireNode(keccak256("nobody"));
    }

    function test_WhenANodeIsRetired() external {
        earn();
        vm.prank(admin.addr);
        ai.retireNode(nodeIds[0]);
        (address operator, bytes32 namespaceId) = ai.nodeOf(nodeIds[0]);
        vm.assertEq(operator, operators[0].addr);
        vm.assertEq(namespaceId, bytes32(0));
        vm.assertTrue(ai.earned(nodeIds[0]) > 0);
        (, bytes memory terms) = ask(start(USD), namedRouting(IDtnAi.AggregationType.ANY, 1), options(), 0);
        respond(terms, success("ok"));
        (, uint256 nodes) = ai.namespaceOf(SYSTEM);
        vm.assertEq(nodes, 6);
        vm.prank(admin.addr);
        vm.expectRevert();
        ai.registerNode("system", "node-0", thief.addr);
    }

    // ────────────────────────────────────────── transferNode ─────────────────────────────────────────

    function test_RevertWhen_AStrangerTransfersANode() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotOperator.selector, nodeIds[0], admin.addr));
        vm.prank(admin.addr);
        ai.transferNode(nodeIds[0], admin.addr);
    }

    function test_RevertWhen_ANodeIsTransferredToNobody() external {
        vm.expectRevert(IDtnNodes.DtnAi_AddressZero.selector);
        vm.prank(operators[0].addr);
        ai.transferNode(nodeIds[0], address(0));
    }

    function test_WhenANodeIsTransferred() external {
        uint256 amount = earn();
        vm.prank(operators[0].addr);
        ai.transferNode(nodeIds[0], thief.addr);
        vm.prank(thief.addr);
        vm.assertEq(ai.withdraw(nodeIds[0], thief.addr), amount);
    }

    // ──────────────────────────────────────────── setModel ───────────────────────────────────────────

    function test_RevertWhen_AStrangerSetsAModel() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotNamespaceOwner.selector, SYSTEM, thief.addr));
        vm.prank(thief.addr);
        ai.setModel("mine", IDtnNodes.Model(0, 0, 0, 3));
    }

    function test_WhenAModelIsSet() external {
        vm.prank(admin.addr);
        bytes32 id = ai.setModel("gpt-3.5-turbo", IDtnNodes.Model(1, 2, 3, 2));
        vm.assertEq(id, keccak256("gpt-3.5-turbo"));
        vm.assertEq(id, ai.modelId("gpt-3.5-turbo"));
        vm.assertEq(ai.modelOf(id).totalFeePerRes, 3);
    }

    function test_WhenAModelIsTakenOffTheList() external {
        uint256 sessionId = start(USD);
        vm.prank(admin.addr);
        ai.setModel(MODEL, IDtnNodes.Model(0, 0, 0, 0));
        IDtnAi.DtnRequest memory asked = question("?");
        IDtnAi.DtnRouting memory route = routing(IDtnAi.AggregationType.ANY, 1);
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_ModelNotSupported.selector, modelId()));
        vm.prank(owner.addr);
        ai.request(sessionId, modelId(), route, asked, callbackTo(address(0)), owner.addr, 0);
    }

    // ──────────────────────────────────────────── withdraw ───────────────────────────────────────────

    function test_RevertWhen_AStrangerWithdraws() external {
        earn();
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NotOperator.selector, nodeIds[0], admin.addr));
        vm.prank(admin.addr);
        ai.withdraw(nodeIds[0], admin.addr);
    }

    function test_RevertGiven_NothingWasEarned() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_NothingEarned.selector, nodeIds[0]));
        vm.prank(operators[0].addr);
        ai.withdraw(nodeIds[0], operators[0].addr);
    }

    function test_RevertGiven_ATokenThatRefusesTheReceiver() external {
        uint256 amount = earn();
        // The contract itself cannot be paid: nothing would leave it.
        vm.expectRevert(abi.encodeWithSelector(IDtnAiEvents.DtnAi_PaymentRefused.selector, address(ai), amount, 0));
        vm.prank(operators[0].addr);
        ai.withdraw(nodeIds[0], address(ai));
        vm.assertEq(ai.earned(nodeIds[0]), amount);
    }

    function test_WhenTheOperatorWithdraws() external {
        uint256 amount = earn();
        vm.prank(operators[0].addr);
        ai.withdraw(nodeIds[0], thief.addr);
        vm.assertEq(token.balanceOf(thief.addr), amount);
        vm.assertEq(ai.earned(nodeIds[0]), 0);
    }

    // ─────────────────────────────────────────── constructor ─────────────────────────────────────────

    function test_RevertWhen_TheTokenIsNoContract() external {
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_TokenNotSupported.selector, thief.addr, 0));
        this.deployFor(thief.addr, admin.addr);
    }

    function test_RevertWhen_TheTokenHasNineteenDecimals() external {
        address fine = address(new TokenMock(19));
        vm.expectRevert(abi.encodeWithSelector(IDtnNodes.DtnAi_TokenNotSupported.selector, fine, 19));
        this.deployFor(fine, admin.addr);
    }

    function test_RevertWhen_TheAdministratorIsNobody() external {
        vm.expectRevert(IDtnNodes.DtnAi_AddressZero.selector);
        this.deployFor(address(token), address(0));
    }

    function test_WhenTheTokenHasNoDecimalsToSpeakOf() external {
        TetherMock whole = new TetherMock(0);
        IDtn other = this.deployFor(address(whole), admin.addr);
        whole.mint(owner.addr, 1);
        vm.startPrank(owner.addr);
        whole.approve(address(other), 1);
        other.closeUserSession(other.startUserSession(1));
        vm.stopPrank();
        vm.assertEq(whole.balanceOf(owner.addr), 1);
    }

    // ─────────────────────────────────────────────── parts ───────────────────────────────────────────

    function deployFor(address feeToken, address administrator) external returns (IDtn) {
        return deployAi(feeToken, administrator);
    }

    function earn() private returns (uint256) {
        (, bytes memory terms) = ask(start(USD));
        respond(terms, success("ok"));
        return ai.earned(nodeIds[0]);
    }
}
